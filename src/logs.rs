//! Lines for people: the access log, who writes lines, and how often where peers cause them.

pub mod access;
pub mod lines;
pub mod seldom;
