//! The promises, each a function that panics where a connector breaks it.

mod erasing;
mod forms;
mod processes;
mod queries;
mod reading;
mod stores;
mod writing;

pub use erasing::*;
pub use forms::*;
pub use processes::*;
pub use queries::*;
pub use reading::*;
pub use stores::*;
pub use writing::*;
