"""How tests steer the simulator."""
