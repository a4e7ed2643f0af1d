"""Real networks of several sizes: the large one of a family initialises the small one."""
