//! What is counted, where it is kept and how it is shown: labels, the catalogue, the store of the
//! hot family, the sidecar's own metrics, and the page of a scrape. Knows no request and no socket.

pub use self::catalogue::*;
pub use self::process::ProcessMetrics;
pub(crate) use self::process::Shed;
pub use self::profiles::*;
pub(crate) use self::queue::Look;
pub use self::resource::Resource;
pub use self::shown::{DurationLabel, DurationLabels, Shown, ShownError, Without};
pub use self::sidecar::*;
pub use self::tls::{ReadTls, TlsState};

pub use self::buckets::{Buckets, Histograms, Native};
pub use self::labels::{CLIENT_CLOSED_REQUEST, ErrorToken, MethodId, Methods, Side};
pub use self::page::{Page, Site, Sources};
pub use self::proto::{MetricFamily, MetricType};
pub use self::slo::{Ended, Slo, SloResult, SloSet, Slos, SlosError};
pub use self::store::{
    Answer, HistogramTotals, Key, Limits, Resolved, Settled, Shard, Store, meaning_of,
};
pub use self::text::read::{Sample, samples};
pub use self::text::{Format, label};

pub(crate) mod buckets;
mod catalogue;
pub(crate) mod labels;
pub(crate) mod page;
mod process;
mod profiles;
pub(crate) mod proto;
mod queue;
mod reachability;
mod resource;
mod shown;
mod sidecar;
pub(crate) mod slo;
pub(crate) mod store;
pub(crate) mod text;
mod tls;
pub(crate) mod wire;
