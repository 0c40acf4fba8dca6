//! Integration tests: the command itself between real MySQL servers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod abuse;
mod access;
mod apply;
mod cascade;
mod cases;
mod chaos;
mod charsets;
mod clients;
mod clock;
mod compression;
mod crash;
mod definitions;
mod disk;
mod divergence;
mod eventual;
mod fidelity;
mod guard;
mod hold;
mod insight;
mod large;
mod layout;
mod limits;
mod links;
mod log;
mod look;
mod offline;
mod outage;
mod refusal;
mod relay;
mod reload;
mod replay;
mod schema;
mod selection;
mod silence;
mod soak;
mod source;
mod support;
mod systemd;
mod tls;
mod tools;
mod upgrade;
mod workload;
mod workspace;
mod xa;
