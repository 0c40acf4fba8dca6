//! What the proxy counts.

mod errors;
mod latency;

use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use outrigger_protocol::command::CommandByte;

use self::errors::Errors;
pub(crate) use self::errors::Origin;
use self::latency::Latencies;
use crate::access::Refusal;

/// Handles of the proxy's metrics, made once under the recorder that is then installed.
#[derive(Debug)]
pub struct Metrics {
    connections: Gauge,
    accepted: Counter,
    refused: [Counter; Refusal::NAMES.len()],
    upstream_failures: Counter,
    received: Counter,
    answered: Counter,
    commands: [Counter; CommandByte::ALL.len()],
    unknown_commands: Counter,
    unfollowed: Counter,
    slow: Counter,
    tls_failures: Counter,
    certificate_loads: Counter,
    certificate_failures: Counter,
    latencies: Latencies,
    errors: Errors,
}

impl Metrics {
    /// Describes the metrics and makes their handles.
    pub fn new() -> Self {
        describe_gauge!("outrigger_proxy_connections", "Client connections that are open");
        describe_counter!(
            "outrigger_proxy_connections_total",
            "Client connections that were accepted"
        );
        describe_counter!(
            "outrigger_proxy_connections_refused_total",
            "Client connections that the proxy refused, by the list or limit that was against them"
        );
        describe_counter!(
            "outrigger_proxy_upstream_failures_total",
            "Failures to reach the source for a client"
        );
        describe_counter!(
            "outrigger_proxy_received_bytes_total",
            Unit::Bytes,
            "Bytes read, from the client or from the upstream"
        );
        describe_counter!(
            "outrigger_proxy_commands_total",
            "Commands that clients sent, by kind"
        );
        describe_counter!(
            "outrigger_proxy_unfollowed_total",
            "Sessions whose packets the proxy could not follow any more: relayed on, but closed late when it drains"
        );
        describe_counter!(
            "outrigger_proxy_slow_statements_total",
            "Statements that took as long as slow_query in [proxy] says, or longer"
        );
        describe_counter!(
            "outrigger_proxy_tls_failures_total",
            "Handshakes of TLS with clients that failed"
        );
        describe_counter!(
            "outrigger_proxy_certificate_reloads_total",
            "Changes of the proxy's certificate that were taken up, or were not because it does not serve"
        );
        Self {
            connections: gauge!("outrigger_proxy_connections"),
            accepted: counter!("outrigger_proxy_connections_total"),
            refused: Refusal::NAMES
                .map(|reason| counter!("outrigger_proxy_connections_refused_total", "reason" => reason)),
            upstream_failures: counter!("outrigger_proxy_upstream_failures_total"),
            received: counter!("outrigger_proxy_received_bytes_total", "from" => "client"),
            answered: counter!("outrigger_proxy_received_bytes_total", "from" => "upstream"),
            commands: CommandByte::ALL
                .map(|command| counter!("outrigger_proxy_commands_total", "command" => command.name())),
            unknown_commands: counter!("outrigger_proxy_commands_total", "command" => "unknown"),
            unfollowed: counter!("outrigger_proxy_unfollowed_total"),
            slow: counter!("outrigger_proxy_slow_statements_total"),
            tls_failures: counter!("outrigger_proxy_tls_failures_total"),
            certificate_loads: counter!("outrigger_proxy_certificate_reloads_total", "outcome" => "loaded"),
            certificate_failures: counter!("outrigger_proxy_certificate_reloads_total", "outcome" => "failed"),
            latencies: Latencies::default(),
            errors: Errors::default(),
        }
    }

    /// What is counted without the recorder, in Prometheus' text format: how long commands take, and errors by number.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        self.latencies.write(&mut text);
        self.errors.write(&mut text);
        text
    }

    /// Commands that were answered.
    pub fn commands(&self) -> u64 {
        self.latencies.count()
    }

    /// Errors that clients got.
    pub fn errors(&self) -> u64 {
        self.errors.total()
    }

    /// A client connected; it is counted as open until the returned value is dropped.
    pub(crate) fn open(&self) -> Open {
        self.accepted.increment(1);
        self.connections.increment(1);
        Open(self.connections.clone())
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refused[refusal.index()].increment(1);
    }

    pub(crate) fn upstream_failed(&self) {
        self.upstream_failures.increment(1);
    }

    pub(crate) fn read_from_client(&self, bytes: usize) {
        self.received.increment(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn read_from_upstream(&self, bytes: usize) {
        self.answered.increment(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn tls_failed(&self) {
        self.tls_failures.increment(1);
    }

    pub(crate) fn certificate_loaded(&self) {
        self.certificate_loads.increment(1);
    }

    pub(crate) fn certificate_failed(&self) {
        self.certificate_failures.increment(1);
    }

    pub(crate) fn unfollowed(&self) {
        self.unfollowed.increment(1);
    }

    pub(crate) fn slow(&self) {
        self.slow.increment(1);
    }

    pub(crate) fn command(&self, command: Option<CommandByte>) {
        let counter = command.and_then(|command| self.commands.get(usize::from(command.byte())));
        counter.unwrap_or(&self.unknown_commands).increment(1);
    }

    /// A command's reply has ended, so long after the command's head came.
    pub(crate) fn took(&self, command: CommandByte, time: Duration) {
        self.latencies.record(command, time);
    }

    /// A client gets this error.
    pub(crate) fn error(&self, origin: Origin, code: u16) {
        self.errors.count(origin, code);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// An open connection, as long as it lives.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
