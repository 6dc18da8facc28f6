//! Makes room where what is kept for peers comes near its limit.

use std::rc::Rc;
use std::time::Duration;

use crate::logs::seldom::Seldom;
use crate::metrics::Shed;
use crate::proxy::worker::Worker;

/// How often room is made as long as it is scarce.
const ROUND: Duration = Duration::from_millis(50);

/// Rounds after which a connection that holds much and does not move has stalled: 5 s.
const STALLED_ROUNDS: u32 = 100;

static SCARCE: Seldom = Seldom::new();

/// Keeps one worker's part of the account small enough, for as long as the worker runs.
///
/// # Cancel safety
///
/// Dropping the future stops it, nothing else.
pub(crate) async fn keep_room(worker: Rc<Worker>) {
    let holders = &worker.holders;
    loop {
        holders.budget().until_scarce().await;
        let relieved = holders.relieve(worker.config.threads, STALLED_ROUNDS);
        worker.cold.shed(Shed::Idle, relieved.idle);
        worker.cold.shed(Shed::Large, relieved.cut);
        if relieved.idle + relieved.cut > 0
            && let Some(due) = SCARCE.due()
        {
            tracing::warn!(
                held_bytes = holders.budget().held_bytes(),
                limit_bytes = holders.budget().limit_bytes(),
                suppressed = due.suppressed,
                "room for buffers is scarce: connections are ended; see --max-buffered-bytes"
            );
        }
        tokio::time::sleep(ROUND).await;
    }
}
