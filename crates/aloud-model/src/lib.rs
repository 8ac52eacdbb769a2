//! Model configs and weights to a Recording.
