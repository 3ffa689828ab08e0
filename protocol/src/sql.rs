//! SQL silos.
