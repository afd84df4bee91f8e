"""How much of a pair trains: counting, solving for a share, FLOPs, dead parameters, tables."""
