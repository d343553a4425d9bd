//! Where connections come from: a port, or a file of this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// What is listened on.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(SocketFile),
}

/// A new connection.
pub(crate) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr, socket: Option<&Path>) -> io::Result<Listener> {
        match socket {
            None => TcpListener::bind(address).await.map(Listener::Tcp),
            #[cfg(unix)]
            Some(path) => SocketFile::bind(path).map(Listener::Unix),
            #[cfg(not(unix))]
            Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets")),
        }
    }

    /// The address that others of this machine are told: with the port that the system chose, if it did.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr(),
            #[cfg(unix)]
            Listener::Unix(_) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        }
    }

    /// How it is called: `127.0.0.1:11434`, `unix:/run/lair.sock`.
    pub(crate) fn name(&self) -> io::Result<String> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            #[cfg(unix)]
            Listener::Unix(socket) => Ok(format!("unix:{}", socket.path.display())),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, client)| Accepted::Tcp(stream, client)),
            #[cfg(unix)]
            Listener::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// A socket in the file system; its file goes when it does.
#[cfg(unix)]
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
}

#[cfg(unix)]
impl SocketFile {
    /// Only this user can connect: who can, needs no key. What a server that was killed left behind is replaced; a socket that
    /// answers is not, nor is any other file.
    fn bind(path: &Path) -> io::Result<SocketFile> {
        use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(data) if !data.file_type().is_socket() => {
                let cause = "a file that is no socket is there, and is left";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, cause));
            }
            Ok(_) => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"));
                }
                std::fs::remove_file(path)?;
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Between the call that makes a socket and the one that closes it to others nobody must get in: it is made in a folder
        // that is closed already.
        let closed = folder.join(format!(".lair-socket-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&closed)?;
        let made = closed.join("s");
        let bound = UnixListener::bind(&made).and_then(|listener| {
            std::fs::set_permissions(&made, PermissionsExt::from_mode(0o600))?;
            std::fs::rename(&made, path)?;
            Ok(listener)
        });
        let _ = std::fs::remove_dir_all(&closed);
        let listener = bound?;
        Ok(SocketFile { listener, path: path.to_path_buf() })
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
