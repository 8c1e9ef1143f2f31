"""A transaction simulator with fraudsters that adapt: `Simulator`, its `SimulationPolicy`, and the lake's layout."""

from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.simulator import Simulator, lake_path, write_lake

__all__ = ["SimulationPolicy", "Simulator", "lake_path", "write_lake"]
