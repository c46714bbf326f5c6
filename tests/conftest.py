"""What every test runs under: silent implicit broadcasting raises, and compiled code is kept between runs."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
