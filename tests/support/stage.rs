//! A server, for proxies inside the test's own process and for programs that ask either.

use std::process::{Command, Output};

use outrigger::demo::server::{Installation, Server};
use outrigger_protocol::endpoint::{Address, Endpoint, Secret, TlsMode};
use outrigger_proxy::{Config, SslMode, TlsConfig};
use tempfile::TempDir;

use super::front::Front;
use super::{connect, run};

/// A server, and a folder beside it.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) installation: Installation,
    pub(crate) server: Server,
}

impl Stage {
    /// A server with these options on which these statements were run.
    pub(crate) async fn new(options: &[&str], setup: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("outrigger-test-")
            .tempdir()
            .unwrap();
        let installation = Installation::find().unwrap();
        let server = Server::start(&installation, &folder.path().join("source"), options).unwrap();
        run(&mut connect(&server).await, setup).await;
        Self {
            folder,
            installation,
            server,
        }
    }

    /// How a proxy reaches the server.
    pub(crate) fn endpoint(&self, socket: bool, tls: TlsMode) -> Endpoint {
        Endpoint {
            address: match socket {
                true => Address::Socket(self.server.socket()),
                false => Address::Tcp {
                    host: "127.0.0.1".to_owned(),
                    port: self.server.port(),
                },
            },
            user: String::new(),
            password: Secret::default(),
            tls,
            tls_ca: None,
            tls_identity: None,
        }
    }

    /// A proxy before it.
    pub(crate) async fn front(&self, upstream: Endpoint, config: Config) -> Front {
        Front::start(self.folder.path().join("proxy.sock"), upstream, config).await
    }

    /// TLS for a proxy's clients, with the server's own certificate.
    pub(crate) fn tls(&self) -> TlsConfig {
        let data = self.server.folder().join("data");
        TlsConfig {
            ssl_mode: SslMode::Optional,
            cert: Some(data.join("server-cert.pem")),
            key: Some(data.join("server-key.pem")),
            client_ca: None,
        }
    }

    /// One of MySQL's own programs at a port; `login` says as whom.
    pub(crate) fn program(&self, program: &str, port: u16, login: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.installation.command(program);
        command
            .args(["--no-defaults", "-h127.0.0.1"])
            .args(login)
            .arg(format!("-P{port}"))
            .args(arguments);
        command
    }
}

/// What a program printed, to both ends.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}{err}")
}
