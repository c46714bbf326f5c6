"""What every test runs under: silent implicit broadcasting raises, and compiled code is kept between runs."""

import jax

from bellmax.caching import store_compiled_programs

store_compiled_programs()
jax.config.update("jax_numpy_rank_promotion", "raise")
