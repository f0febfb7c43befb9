"""The story of a model that learned cartoon physics, told by motiontrace's own commands: `motiontrace demo story`."""
