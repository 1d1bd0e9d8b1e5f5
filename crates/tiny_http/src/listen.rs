//! Where a server listens: addresses and listeners of either family.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net as unix;
use std::path::PathBuf;

/// A listening socket: TCP or Unix.
pub enum Listener {
    /// TCP, over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(unix::UnixListener),
}

impl Listener {
    pub(crate) fn local_addr(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::from),
            Self::Unix(listener) => listener.local_addr().map(ListenAddr::from),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<unix::UnixListener> for Listener {
    fn from(listener: unix::UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// Where a server is asked to listen.
#[derive(Debug, Clone)]
pub enum ConfigListenAddr {
    /// At the first of these that can be bound.
    IP(Vec<SocketAddr>),
    /// At a path of the file system.
    Unix(PathBuf),
}

impl ConfigListenAddr {
    /// Resolves `addrs`, which are tried in turn.
    ///
    /// # Errors
    /// If they can't be resolved.
    pub fn from_socket_addrs<A: ToSocketAddrs>(addrs: A) -> io::Result<Self> {
        Ok(Self::IP(addrs.to_socket_addrs()?.collect()))
    }

    /// Listens at `path`, where nothing may be yet. The file is removed when the server is dropped.
    pub fn unix_from_path<P: Into<PathBuf>>(path: P) -> Self {
        Self::Unix(path.into())
    }

    pub(crate) fn bind(&self) -> io::Result<Listener> {
        match self {
            Self::IP(addrs) => TcpListener::bind(addrs.as_slice()).map(Listener::Tcp),
            Self::Unix(path) => unix::UnixListener::bind(path).map(Listener::Unix),
        }
    }
}

/// Where a server does listen.
#[derive(Debug, Clone)]
pub enum ListenAddr {
    /// An IP address and a port.
    IP(SocketAddr),
    /// The name of a Unix socket.
    Unix(unix::SocketAddr),
}

impl ListenAddr {
    /// The address and port, unless it is a Unix socket.
    #[must_use]
    pub fn to_ip(self) -> Option<SocketAddr> {
        match self {
            Self::IP(addr) => Some(addr),
            Self::Unix(_) => None,
        }
    }

    /// The name of the Unix socket, if it is one.
    #[must_use]
    pub fn to_unix(self) -> Option<unix::SocketAddr> {
        match self {
            Self::IP(_) => None,
            Self::Unix(addr) => Some(addr),
        }
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::IP(addr)
    }
}

impl From<unix::SocketAddr> for ListenAddr {
    fn from(addr: unix::SocketAddr) -> Self {
        Self::Unix(addr)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IP(addr) => addr.fmt(f),
            Self::Unix(addr) => fmt::Debug::fmt(addr, f),
        }
    }
}
