"""`motiontrace doctor`: what of an installation is in order, what is not, and what to do about it.

`installation` looks at the settings and the machine, `storage` at home and the database, `indexes` at each index,
`computing` at the device and the decoder; `checkup` runs them all.
"""

from motiontrace.doctor.checkup import examine
from motiontrace.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
