//! Turns: tasks of a worker share its thread, and none may hold it while others have work.

use std::pin::pin;
use std::task::Context;

/// Has the calling task polled again, once all tasks that are ready had their turn and the sockets
/// were looked at. To wake itself would bring it back before that: the runtime looks at the
/// sockets only after 61 tasks, and this one alone could be all of them.
pub(crate) fn give_way(cx: &mut Context<'_>) {
    let yielding = pin!(tokio::task::yield_now()).poll(cx);
    debug_assert!(yielding.is_pending(), "it waits for the sockets first");
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::Write;
    use std::rc::Rc;
    use std::task::Poll;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_busy_task_lets_the_sockets_be_looked_at_between_two_turns() {
        let (mut peer, socket) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
        socket.set_nonblocking(true).expect("a socket");
        let mut socket = tokio::net::UnixStream::from_std(socket).expect("in a runtime");
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let busy = poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            if counted.get() == 3 {
                peer.write_all(b"x").expect("room in the kernel");
            }
            give_way(cx);
            Poll::<()>::Pending
        });
        let local = tokio::task::LocalSet::new();
        let waiting = async {
            drop(tokio::task::spawn_local(busy));
            socket.read_u8().await.expect("a byte")
        };
        assert_eq!(local.run_until(waiting).await, b'x');
        assert!(turns.get() <= 6, "{} turns before it was seen", turns.get());
    }
}
