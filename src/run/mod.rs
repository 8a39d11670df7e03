//! The composition root: boot order, event loop, shutdown order.
