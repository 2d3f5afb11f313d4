//! UDP on io_uring, and its portable twin.
