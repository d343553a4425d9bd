//! `lair ui`: opens the page in a browser, and starts the server if none runs.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;

use super::ps;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;
use crate::server_address::variable;

/// The file of the page's conversations, in Lair's folder.
const CONVERSATIONS_FILE: &str = "conversations.sqlite";
/// How long an address may take to say that somebody listens there.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often a server that starts is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Which server, and whether to show it.
#[derive(Args, Debug)]
pub struct UiArgs {
    /// Where the server is or is to be: ADDRESS, ADDRESS:PORT, :PORT or a link [default: where `lair serve` would listen]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Print the address, open no browser
    #[arg(long)]
    no_browser: bool,
}

/// Where the page keeps conversations.
pub fn conversations_file() -> Result<PathBuf, Failure> {
    Ok(locate::store()?.settings().root.join(CONVERSATIONS_FILE))
}

/// Runs the command.
pub fn ui(args: &UiArgs) -> Outcome {
    let base = ps::base(args.host.as_deref())?;
    if is_listening(&base) {
        return show(&base, args.no_browser);
    }
    let mut server = start(args.host.as_deref())?;
    while !is_listening(&base) {
        if let Some(status) = server.try_wait()? {
            return ended(status);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let shown = show(&base, args.no_browser);
    // Ctrl-C reaches the server too; this waits until its answers have ended.
    let _ = ctrlc::set_handler(|| ());
    shown.and(ended(server.wait()?))
}

/// Starts `lair serve` beside this process, with its settings.
fn start(host: Option<&str>) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").stdin(Stdio::null());
    if let Some(host) = host {
        command.args(["--host", host]);
    }
    Ok(command.spawn()?)
}

fn ended(status: ExitStatus) -> Outcome {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Other, format!("the server ended: {status}"))
        .with_hint("its own lines above say why; `lair serve` starts it alone".to_owned()))
}

/// Whether somebody listens at `scheme://host:port`.
fn is_listening(base: &str) -> bool {
    let place = base.split_once("://").map_or(base, |(_, place)| place);
    let addresses = place.to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, CONNECT_MAX).is_ok())
}

fn show(base: &str, is_only_told: bool) -> Outcome {
    println!("{base}/");
    if !is_only_told && open_browser(&format!("{base}/")).is_err() {
        eprintln!("no browser could be started; open the address above in one");
    }
    Ok(())
}

/// Asks the system to show a link.
fn open_browser(link: &str) -> io::Result<()> {
    let chosen = variable("BROWSER").map(|browser| (browser, Vec::new()));
    let usual: &[(&str, &[&str])] = if cfg!(target_os = "macos") {
        &[("open", &[])]
    } else if cfg!(windows) {
        &[("rundll32", &["url.dll,FileProtocolHandler"])]
    } else {
        &[("xdg-open", &[]), ("gio", &["open"]), ("wslview", &[])]
    };
    let usual = usual.iter().map(|(program, words)| ((*program).to_owned(), words.to_vec()));
    for (program, words) in chosen.into_iter().chain(usual) {
        let mut command = Command::new(&program);
        command.args(words).arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.spawn().is_ok() {
            return Ok(());
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}
