//! MySQL's formats, pure and without I/O: packets, handshake, authentication, commands, replies, binlog events, column
//! values, table definitions, GTID sets, an SQL lexer and a reader of DDL heads.
//!
//! Nothing here opens a socket or a file. Whatever bytes come in, no function panics: input comes from networks and disks.

pub mod auth;
pub mod binlog;
pub mod charset;
pub mod command;
pub mod cursor;
pub mod definition;
pub mod endpoint;
pub mod gtid;
pub mod handshake;
pub mod packet;
pub mod position;
pub mod reply;
pub mod sql;
pub mod value;
