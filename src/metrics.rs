//! What is counted, where it is kept and how it is shown: labels, the catalogue, the store of the
//! hot family, the sidecar's own metrics, and the page of a scrape. Knows no request and no socket.

pub use self::catalogue::*;
pub use self::profiles::*;
pub use self::shown::{DurationLabel, DurationLabels, Shown, ShownError, Without};
pub use self::sidecar::*;
pub use self::tls::{ReadTls, TlsState};

pub mod buckets;
mod catalogue;
pub mod labels;
pub mod page;
mod profiles;
pub mod proto;
mod reachability;
mod shown;
mod sidecar;
pub mod store;
pub mod text;
mod tls;
