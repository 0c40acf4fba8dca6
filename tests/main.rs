//! Integration tests: the command itself between real MySQL servers.

mod cases;
mod chaos;
mod crash;
mod outage;
mod refusal;
mod relay;
mod replay;
mod support;
mod workspace;
