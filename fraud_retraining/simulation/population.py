"""The honest world: customers with a home, a purse and habits; terminals with a place, regulars and a lifetime.

Here: who exists and what they are like, from the seed alone. Not here: what happens on a day.

Terminals are numbered: first the online merchants, then the terminals in person, district by district and in each
by popularity. Places, popularity and lifetimes follow from the number, so a million terminals take no memory.
"""

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.randomness import Stream, generator, trait

_DISTRICT_KM = 10.0
_TERMINALS_PER_DISTRICT = 100
_ONLINE_SHARE = 0.02
_FAVOURITES = 12
_POPULARITY = 2.0
_LASTING_SHARE = 0.2
_PLACE_X, _PLACE_Y, _LIFETIME, _OPENED = 1, 2, 3, 4


class Population:
    """Customers and terminals of a lake."""

    def __init__(self, policy: SimulationPolicy) -> None:
        self.seed = policy.seed
        self.customers = policy.customers
        self.terminals = policy.terminals
        self.online = max(2, round(_ONLINE_SHARE * self.terminals))
        self.districts = max(2, round((self.terminals - self.online) / _TERMINALS_PER_DISTRICT))
        self._columns = int(np.ceil(np.sqrt(self.districts)))
        self._meet_customers()
        self.favourites = self._choose_favourites()

    def _meet_customers(self) -> None:
        random = generator(self.seed, Stream.CUSTOMERS)
        self.home = random.integers(0, self.districts, self.customers)
        self.home_x = self._column_km(self.home) + random.uniform(0, _DISTRICT_KM, self.customers)
        self.home_y = self._row_km(self.home) + random.uniform(0, _DISTRICT_KM, self.customers)
        self.payments_a_day = random.uniform(0.1, 3.9, self.customers)
        self.usual_amount = random.uniform(5, 100, self.customers)
        self.usual_hour = random.normal(13.5, 2.0, self.customers)
        self.online_share = random.beta(2, 8, self.customers)
        self.contactless_share = random.beta(3, 3, self.customers)

    def _choose_favourites(self) -> NDArray[np.int32]:
        random = generator(self.seed, Stream.FAVOURITES)
        homes = np.broadcast_to(self.home[:, None], (self.customers, _FAVOURITES))
        return self.terminal_in(homes, random.random(homes.shape)).astype(np.int32)

    def favourite(self, customer: NDArray[np.int64], chance: NDArray[np.float64]) -> NDArray[np.int64]:
        """One of a customer's favourite terminals, the first ones more often."""
        return self.favourites[customer, (_FAVOURITES * chance**1.5).astype(np.int64)].astype(np.int64)

    def terminal_in(self, district: NDArray[np.int64], chance: NDArray[np.float64]) -> NDArray[np.int64]:
        """A terminal of the district; low chances give its popular ones."""
        first, after = self._block(district), self._block(district + 1)
        return first + ((after - first) * chance**_POPULARITY).astype(np.int64)

    def quiet_terminal(self, chance: NDArray[np.float64], which: NDArray[np.float64]) -> NDArray[np.int64]:
        """A terminal in person from the little used half of some district."""
        district = (self.districts * chance).astype(np.int64)
        return self.terminal_in(district, np.sqrt(0.5 + 0.5 * which))

    def merchant(self, chance: NDArray[np.float64]) -> NDArray[np.int64]:
        """An online merchant; low chances give the large ones."""
        return (self.online * chance**_POPULARITY).astype(np.int64)

    def generation(self, terminal: NDArray[np.int64], index: int) -> NDArray[np.int64]:
        """How often an honest terminal had been replaced by a new one by that day; popular ones last."""
        lifetime = 150 + 450 * trait(self.seed, _LIFETIME, terminal)
        age = index + lifetime * trait(self.seed, _OPENED, terminal)
        return np.where(self._lasts(terminal), 0, (age // lifetime).astype(np.int64))

    def distance(self, customer: NDArray[np.int64], terminal: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kilometres between a customer's home and a terminal; meaningless online."""
        district = self.district_of(terminal)
        x = self._column_km(district) + _DISTRICT_KM * trait(self.seed, _PLACE_X, terminal)
        y = self._row_km(district) + _DISTRICT_KM * trait(self.seed, _PLACE_Y, terminal)
        return np.hypot(x - self.home_x[customer], y - self.home_y[customer])

    def district_of(self, terminal: NDArray[np.int64]) -> NDArray[np.int64]:
        """The district of a terminal. Terminals beyond the honest ones (fraudsters' own) have theirs by number."""
        own = (np.maximum(terminal - self.online, 0) * self.districts) // (self.terminals - self.online)
        return np.where(terminal < self.terminals, own, terminal % self.districts)

    def _block(self, district: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.online - (-district * (self.terminals - self.online) // self.districts)

    def _lasts(self, terminal: NDArray[np.int64]) -> NDArray[np.bool_]:
        district = self.district_of(terminal)
        first, after = self._block(district), self._block(district + 1)
        return (terminal < self.online) | (terminal - first < _LASTING_SHARE * (after - first))

    def _column_km(self, district: NDArray[np.int64]) -> NDArray[np.float64]:
        return (district % self._columns).astype(np.float64) * _DISTRICT_KM

    def _row_km(self, district: NDArray[np.int64]) -> NDArray[np.float64]:
        return (district // self._columns).astype(np.float64) * _DISTRICT_KM
