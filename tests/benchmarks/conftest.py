"""What pytest leaves alone: JAX comes with an extra only, and then only in processes of its own.

(It would take threads and warn at every fork of the other tests.)
"""

collect_ignore_glob = ["peers/*jax*.py", "peers/scripts/*jax*.py"]
