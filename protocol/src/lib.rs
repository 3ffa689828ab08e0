//! What every Manifold connector is built on: messages, traits, output and the runner.
