use std::task::{Context, Poll, Waker};

use http_body::Body;

use crate::metrics::buckets::Buckets;
use crate::metrics::labels::Methods;
use crate::metrics::page::Site;
use crate::metrics::slo::Slos;
use crate::metrics::store::{Limits, Store};
use crate::metrics::text::Format;
use crate::metrics::{Resource, SidecarMetrics};
use crate::paths::Namer;

use super::*;

fn admin() -> Admin {
    let limits = Limits {
        max_paths: 10,
        max_series: 100,
        buckets: Buckets::new(&[1.0]).expect("one bound"),
        exemplars: false,
        slos: Slos::default(),
    };
    let sources = Sources {
        first: Site {
            listener: None,
            store: Store::new(limits, Namer::new(&[]).expect("no template")),
            cold: SidecarMetrics::new(100, 10, 1000),
            workers: Vec::new(),
        },
        further: Vec::new(),
        methods: Methods::default(),
        naming: crate::metrics::Naming::Default,
        shown: crate::metrics::Shown::default(),
        scheme: "http",
        resource: Resource::default(),
    };
    let admin = Admin::new(sources, Arc::default(), Settings::default());
    admin.scrapes.set(1);
    admin.views.set(1);
    admin
}

#[test]
fn nobody_waits_at_the_shutdown_for_one_who_only_watches_or_passes() {
    let admin = admin();
    admin.scrape_ended(Reader::Viewer, true, Duration::ZERO);
    assert!(admin.history.borrow().expected().is_none());
    admin.scrape_ended(Reader::Passer, true, Duration::ZERO);
    assert!(admin.history.borrow().expected().is_none());
    admin.scrapes.set(1);
    admin.scrape_ended(Reader::Scraper, true, Duration::ZERO);
    assert!(admin.history.borrow().expected().is_some());
    assert_eq!((admin.scrapes.get(), admin.views.get()), (0, 0));
}

#[test]
fn the_first_piece_of_a_page_is_sent_before_the_second_is_made() {
    let admin = Rc::new(admin());
    let page = Page::new(admin.sources.clone(), Format::Text);
    let (gzip, reader, busy) = (None, Reader::Viewer, Duration::ZERO);
    let scrape = ScrapeBody { page, gzip, admin, reader, busy, complete: false, left: 1 };
    let mut body = std::pin::pin!(AdminBody::Scrape(Box::new(scrape)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    // The library sends what it has as soon as there is nothing to take.
    assert!(body.as_mut().poll_frame(&mut cx).is_pending());
    assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)));
}
