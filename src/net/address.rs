//! Where to listen and where to forward to, as text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// Not an address.
    #[error("`{0}` is not an address to listen on; give `:7001`, `127.0.0.1:7001` or `[::1]:7001`")]
    Listen(String),
    /// A port outside 1 to 65535.
    #[error("`{0}` is not a port; ports are 1 to 65535")]
    Port(String),
    /// Not an upstream.
    #[error(
        "`{0}` is not an upstream; give `:8000`, `app:8000`, `http://app:8000`, `https://app:8443` or `unix:/run/app.sock`"
    )]
    Upstream(String),
    /// An upstream with a path.
    #[error("`{0}`: an upstream has no path; requests keep their own")]
    UpstreamPath(String),
    /// Not a pair of addresses.
    #[error("`{0}` is not a pair of a port and its app; give `:7002=:8080`")]
    Map(String),
}

/// An address to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenAddr {
    /// All addresses, IPv6 and IPv4; IPv4 alone where the host has no IPv6.
    Port(u16),
    /// This address only.
    Socket(SocketAddr),
}

/// Whom to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// To be looked up.
    Name(String),
    /// To be taken as it is.
    Address(IpAddr),
    /// This machine, by whichever family the app listens on: what `:8000` means.
    Loopback,
}

/// Both addresses of this machine, the more common one first.
pub(crate) const LOOPBACK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Where the backend is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// A host name or address, and a port.
    Tcp {
        /// Whom to connect to.
        host: Host,
        /// 1 to 65535.
        port: u16,
    },
    /// The same, spoken to in TLS.
    Tls {
        /// Whom to connect to. The upstream's certificate has to name it.
        host: Host,
        /// 1 to 65535.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// A further port, and the app behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortMap {
    /// Where clients connect.
    pub listen: ListenAddr,
    /// The backend.
    pub upstream: Upstream,
}

impl Host {
    /// What a request or a certificate calls it, without brackets.
    pub fn name(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(ip) => ip.to_string(),
            Self::Loopback => Ipv4Addr::LOCALHOST.to_string(),
        }
    }
}

impl From<&str> for Host {
    /// A name, an address without brackets, or nothing for this machine.
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(ip) => Self::Address(ip),
            Err(_) if text.is_empty() => Self::Loopback,
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

impl fmt::Display for Host {
    /// As it stands before a port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Address(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Loopback => Ok(()),
        }
    }
}

impl ListenAddr {
    /// The port, 0 where the kernel chooses.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Port(port) => port,
            Self::Socket(address) => address.port(),
        }
    }

    fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Port(_) => None,
            Self::Socket(address) => Some(address.ip()).filter(|ip| !ip.is_unspecified()),
        }
    }

    /// Tells whether both cannot be bound at once. Port 0 never collides.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let same_ip = match (self.ip(), other.ip()) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.port() != 0 && self.port() == other.port() && same_ip
    }
}

impl Upstream {
    /// Host and port, unless it is a Unix domain socket.
    pub fn host_and_port(&self) -> Option<(&Host, u16)> {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } => Some((host, *port)),
            Self::Unix(_) => None,
        }
    }

    /// The name to verify, if TLS is spoken.
    pub fn tls_host(&self) -> Option<String> {
        match self {
            Self::Tls { host, .. } => Some(host.name()),
            Self::Tcp { .. } | Self::Unix(_) => None,
        }
    }

    /// Tells whether connecting here reaches `listen` on this machine, as far as text shows.
    pub(crate) fn is_local(&self, listen: ListenAddr) -> bool {
        let Some((host, port)) = self.host_and_port() else {
            return false;
        };
        if port != listen.port() {
            return false;
        }
        let reaches = |ip: IpAddr| match listen.ip() {
            None => ip.is_loopback() || ip.is_unspecified(),
            Some(listen) => {
                ip == listen.to_canonical() || (ip.is_unspecified() && listen.is_loopback())
            }
        };
        match host {
            Host::Address(ip) => reaches(ip.to_canonical()),
            Host::Loopback => LOOPBACK.into_iter().any(reaches),
            Host::Name(name) => {
                name.eq_ignore_ascii_case("localhost") && LOOPBACK.into_iter().any(reaches)
            }
        }
    }
}

impl FromStr for ListenAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bare = text.strip_prefix(':').unwrap_or(text);
        if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
            // Port 0 asks the kernel for a free one, which tests and scripts rely on.
            return bare.parse().map(Self::Port).map_err(|_| AddressError::Port(text.to_owned()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| AddressError::Port(text.to_owned()))?;
            return Ok(Self::Socket(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        Err(AddressError::Listen(text.to_owned()))
    }
}

impl FromStr for PortMap {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (listen, upstream) =
            text.split_once('=').ok_or_else(|| AddressError::Map(text.to_owned()))?;
        Ok(Self { listen: listen.parse()?, upstream: upstream.parse()? })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, ":{port}"),
            Self::Socket(address) => address.fmt(f),
        }
    }
}

impl FromStr for Upstream {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Upstream(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let https = text.strip_prefix("https://");
        let scheme = https.or_else(|| text.strip_prefix("http://"));
        let has_scheme = scheme.is_some();
        let rest = scheme.map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest));
        if rest.contains('/') {
            return Err(AddressError::UpstreamPath(text.to_owned()));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            None if has_scheme && rest.is_empty() => return Err(wrong()),
            None if https.is_some() => (rest, "443"),
            None if has_scheme => (rest, "80"),
            None => ("", rest),
            Some(_) => return Err(wrong()),
        };
        let number = port.parse::<u16>().ok().filter(|n| *n != 0 && !port.starts_with('+'));
        let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = match number {
            Some(port) => port,
            None if is_number => return Err(AddressError::Port(port.to_owned())),
            None => return Err(wrong()),
        };
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) if v6.parse::<Ipv6Addr>().is_err() => return Err(wrong()),
            Some(v6) => v6,
            None if host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) => host,
            None => return Err(wrong()),
        };
        let host = Host::from(host);
        Ok(if https.is_some() { Self::Tls { host, port } } else { Self::Tcp { host, port } })
    }
}

impl Upstream {
    /// Host and port, as a request to it names them.
    pub fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host: Host::Loopback, port } | Self::Tls { host: Host::Loopback, port } => {
                format!("{}:{port}", Host::Loopback.name())
            }
            Self::Tcp { host, port } | Self::Tls { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
