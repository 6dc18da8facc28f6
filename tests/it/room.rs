//! What is kept for clients stays below its limit, however many keep a little of it.

use crate::backend::{Backend, Gate, OK, eventually};
use crate::client::Client;
use crate::scrape::Page;
use crate::sidecar::Sidecar;

const LIMIT: u32 = 1 << 20;

fn sidecar(backend: &Backend) -> Sidecar {
    Sidecar::with(backend, |config| config.max_buffered_bytes = Some(LIMIT as usize))
}

/// How many connections were cut off since they held most.
fn cut(page: &Page) -> f64 {
    let shed = page.samples().filter(|(name, ..)| *name == "redcar_shed_total");
    shed.filter(|(_, labels, _)| labels.contains("large")).map(|(.., value)| value).sum()
}

#[test]
fn what_was_kept_of_a_refused_head_is_room_for_others_at_once() {
    let backend = Backend::answering(OK);
    let sidecar = sidecar(&backend);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "v".repeat(62_900));
    let mut clients: Vec<Client> = (0..24)
        .map(|_| {
            let mut client = sidecar.client();
            client.send_what_is_taken(&head);
            client
        })
        .collect();
    // Those that were refused do not leave; the others' requests are served.
    let statuses: Vec<u16> = clients
        .iter_mut()
        .map(|client| {
            client.send_what_is_taken("\r\n\r\n");
            client.answer_however_it_ends().status()
        })
        .collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(served >= 8 && refused > 0 && served + refused == 24, "{statuses:?}");
    assert!(cut(&Page::of(sidecar.metrics)) < 0.5, "nobody had to be cut off");
}

#[test]
fn many_clients_that_send_a_little_ahead_do_not_go_beyond_the_limit() {
    let gate = Gate::default();
    let answers = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.head().is_some() {
            answers.wait();
        }
    });
    let sidecar = sidecar(&backend);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /{}", "b".repeat(14_000));
    let _clients: Vec<Client> = (0..150)
        .map(|_| {
            let mut client = sidecar.client();
            client.send_what_is_taken(&request);
            client
        })
        .collect();
    eventually("those beyond the limit are cut off", || {
        let page = Page::of(sidecar.metrics);
        cut(&page) > 0.5 && page.total("redcar_buffered_bytes") < f64::from(LIMIT)
    });
    gate.open();
}
