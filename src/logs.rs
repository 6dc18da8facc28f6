//! Lines for people: the access log, who writes lines, and how often where peers cause them.

pub use self::lines::Lines;
pub use self::seldom::Seldom;

pub(crate) mod access;
pub(crate) mod lines;
pub(crate) mod seldom;
