//! Where records go.

pub mod template;
