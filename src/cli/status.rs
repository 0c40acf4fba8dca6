//! `outrigger status`: asks a running sidecar over HTTP and prints the answer.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;

use super::{ConfigArg, print};
use crate::config;
use crate::status::{Document, render};

/// How long a sidecar on the other side of the world may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Its [http] section says where to ask.
    #[command(flatten)]
    config: ConfigArg,
    /// Where to ask, instead of what the configuration file says: `http://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the document as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl StatusArgs {
    /// Where to ask.
    pub(super) fn base(&self) -> anyhow::Result<String> {
        Ok(match &self.url {
            Some(url) => base_url(url),
            None => local_url(config::http_address(&self.config.config)?),
        })
    }
}

pub(super) fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let document = fetch(&args.base()?)?;
    if args.json {
        let json = serde_json::to_string_pretty(&document).context("the status cannot be written as JSON")?;
        return print(&(json + "\n"));
    }
    print(&render(&document))
}

/// What was given as --url, as the beginning of a URL.
pub(super) fn base_url(given: &str) -> String {
    match given.trim_end_matches('/') {
        url if url.contains("://") => url.to_owned(),
        address => format!("http://{address}"),
    }
}

/// An address to listen on, as one to connect to: `0.0.0.0` means this machine.
pub(super) fn local_url(mut address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

pub(super) fn fetch(base: &str) -> anyhow::Result<Document> {
    ask(base, "/api/v1/status")
}

/// What a running sidecar answers at `path`.
pub(super) fn ask<T: DeserializeOwned>(base: &str, path: &str) -> anyhow::Result<T> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut answer = agent.get(format!("{base}{path}")).call().map_err(|error| {
        anyhow::anyhow!(
            "nothing that knows its status answers at {base} ({error}); is `outrigger run` running there? \
             --url or [http] listen says where to ask"
        )
    })?;
    answer.body_mut().read_json().with_context(|| {
        format!(
            "what answers at {base} is no Outrigger of this version; --url or [http] listen says where to ask"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_means_this_machine() {
        assert_eq!(
            local_url("0.0.0.0:8306".parse().unwrap()),
            "http://127.0.0.1:8306"
        );
        assert_eq!(local_url("[::]:8306".parse().unwrap()), "http://[::1]:8306");
        assert_eq!(
            local_url("10.1.2.3:8306".parse().unwrap()),
            "http://10.1.2.3:8306"
        );
    }

    #[test]
    fn silence_gets_a_sentence() {
        // Bound and dropped: nothing listens there now.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let error = fetch(&format!("http://127.0.0.1:{port}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is `outrigger run` running there?"), "{error}");
    }
}
