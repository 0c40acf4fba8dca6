//! A sidecar as systemd runs it: sockets that were listening before it, and what it says of itself.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use crate::support::{PATIENCE, Rig};

/// `outrigger run` with a listening socket handed over under the name `mysql`.
fn activated(rig: &Rig, listener: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mysql exec \"$@\" 3<&0 </dev/null",
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_outrigger"))
        .args(["run", "--config"])
        .arg(rig.sidecar.config())
        .stdin(Stdio::from(listener.into()));
    command
}

/// Has the proxy listen at what was handed over, written as `entry`.
fn listen_at(rig: &Rig, entry: &str) {
    let config = std::fs::read_to_string(rig.sidecar.config()).unwrap();
    let config = config.replace(&format!("\"127.0.0.1:{}\"", rig.proxy), entry);
    std::fs::write(rig.sidecar.config(), config).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_with_access_lists_is_refused() {
    let rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    listen_at(&rig, "{ address = \"systemd:mysql\", deny = [\"10.0.0.0/8\"] }");
    let listener = UnixListener::bind(rig.path("handed")).unwrap();
    let mut sidecar = activated(&rig, listener).stderr(Stdio::piped()).spawn().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    while sidecar.try_wait().unwrap().is_none() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    sidecar.kill().unwrap();
    let said = String::from_utf8_lossy(&sidecar.wait_with_output().unwrap().stderr).into_owned();
    assert!(
        said.contains("a unix socket was handed over as \"systemd:mysql\", whose clients have no address"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_taken_over_and_the_manager_is_told() {
    let rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    listen_at(&rig, "\"systemd:mysql\"");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mailbox = UnixDatagram::bind(rig.path("notify")).unwrap();
    mailbox.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut letter = [0; 256];
        let size = mailbox.recv(&mut letter).unwrap();
        String::from_utf8_lossy(&letter[..size]).into_owned()
    };
    // A client that connects before there is a sidecar waits for it.
    let early = rig
        .mysql(&[
            "-h127.0.0.1",
            "-P",
            &port,
            "-uapp",
            "-papp",
            "--get-server-public-key",
            "-N",
            "-e",
            "SELECT 'let in'",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sidecar = activated(&rig, listener)
        .env("NOTIFY_SOCKET", rig.path("notify"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(told(), "READY=1");
    let said = early.wait_with_output().unwrap();
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("let in"),
        "{said:?}"
    );
    let signal = |name: &str| {
        let pid = sidecar.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-HUP");
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1");
    signal("-TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(sidecar.wait().unwrap().success());
}
