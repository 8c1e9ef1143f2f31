"""Under which operating-system account this process runs.

Here: what the system answers. Not here: whose account it is (`domain/releases/reviewers.py`).
"""

import os
import pwd


def account() -> str | None:
    """The account's name as the system knows it, not as USER or LOGNAME claim.

    None where the system has no name for it, as for an arbitrary user id in a container.
    """
    try:
        # Not `getpass.getuser`: it believes the environment, which any user can set.
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
