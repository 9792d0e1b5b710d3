//! What people see, whatever came and in whatever order.
