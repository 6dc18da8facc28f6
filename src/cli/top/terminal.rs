//! The screen and the keys.
//!
//! The terminal is given back as it was, also after a panic or a signal: [`Screen`] restores it
//! when it drops, and the panic hook before it prints.

use std::io::{self, IsTerminal, Stdout, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

use super::history::History;
use super::table::{HEAD_LINES, Line, Sort, Style, View, lines, matching};
use crate::cli::scrape::page::Page;
use crate::cli::scrape::target::Target;
use crate::cli::scrape::text::{fit, visible};

/// How long a key is waited for before the other events are looked at.
const PATIENCE: Duration = Duration::from_millis(50);

/// Characters of a search; longer than any label.
const MAX_SEARCH: usize = 200;

/// What the other threads say.
enum News {
    Page(io::Result<Page>),
    /// A signal asks for the end.
    ShutdownMode,
}

/// Shows the table until somebody quits.
///
/// # Errors
///
/// Standard output is no terminal, or the terminal fails.
pub(super) fn watch(target: Target, interval: Duration) -> io::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(io::Error::other("this is no terminal; use --once to print one table"));
    }
    let (sender, news) = channel();
    let name = target.to_string();
    let stops = sender.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || await_signal(&stops))?;
    std::thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || look(&target, interval, &sender))?;
    let mut screen = Screen::open()?;
    Watch { name, history: History::default(), view: View::default() }.run(&mut screen, &news)
}

/// How long the thread that owns the screen may take to hear of a signal.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Asks again and again. Ends with the process: it has nothing to lose.
fn look(target: &Target, interval: Duration, sender: &Sender<News>) {
    while sender.send(News::Page(target.ask())).is_ok() {
        std::thread::sleep(interval);
    }
}

fn await_signal(sender: &Sender<News>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = kinds.map(signal) else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up() => {}
        }
    });
    // An error means that the screen is closed already.
    let _told = sender.send(News::ShutdownMode);
    // With the terminal gone, the library that reads it may never come back to hear of it.
    std::thread::sleep(STOP_LIMIT);
    restore();
    #[expect(clippy::exit, reason = "the thread that should end the program does not")]
    std::process::exit(0);
}

/// Waits until the terminal is gone. Whoever is not its foreground process gets no SIGHUP then, and
/// the library that reads keys would ask a dead descriptor for ever.
async fn hung_up() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let is_gone = || {
        let input = io::stdin();
        let mut polled = [PollFd::new(&input, PollFlags::IN)];
        let now = Timespec::default();
        match poll(&mut polled, Some(&now)) {
            Ok(_) => polled.iter().any(|fd| {
                fd.revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
            }),
            // Interrupted: the next look tells.
            Err(_) => false,
        }
    };
    while !is_gone() {
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Watch {
    name: String,
    history: History,
    view: View,
}

impl Watch {
    fn run(&mut self, screen: &mut Screen, news: &Receiver<News>) -> io::Result<()> {
        let mut changed = true;
        loop {
            if changed {
                self.draw(screen)?;
            }
            changed = false;
            if event::poll(PATIENCE)? {
                changed = true;
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release && self.key(key) => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
            for news in news.try_iter() {
                changed = true;
                match news {
                    News::ShutdownMode => return Ok(()),
                    News::Page(Ok(_)) if self.view.paused => {}
                    News::Page(Ok(page)) => {
                        self.view.problem = None;
                        self.history.add(page);
                    }
                    News::Page(Err(error)) => {
                        self.view.problem = Some(format!("{error}; trying again"));
                    }
                }
            }
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let (width, height) = size()?;
        let (width, height) = (usize::from(width), usize::from(height).saturating_sub(1));
        let figures = self.history.figures(false);
        let last = matching(&figures, &self.view).len().saturating_sub(1);
        self.view.first = self.view.first.min(last);
        let mut lines = lines(&self.name, &figures, &self.view, (width, height));
        lines.resize_with(height, || Line { style: Style::Plain, text: String::new() });
        lines.push(self.last_line());
        screen.draw(&lines, width)
    }

    fn last_line(&self) -> Line {
        let search = visible(&self.view.search);
        let (style, text) = match (self.view.typing, search.is_empty()) {
            (true, _) => (Style::Bold, format!("search: {search}_   Enter keeps, Esc clears")),
            (false, false) => {
                (Style::Dim, format!("search: {search}   / changes it, Esc clears it"))
            }
            (false, true) => (
                Style::Dim,
                "sort: r rate  c count  e errors  5 p50  p p95  9 p99  n path  m method   / search  \
                 space pause  q quit"
                    .to_owned(),
            ),
        };
        Line { style, text }
    }

    /// Returns whether this key ends the program.
    fn key(&mut self, key: KeyEvent) -> bool {
        let view = &mut self.view;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return true,
            KeyCode::Char(_) if control => {}
            KeyCode::Esc => (view.typing, view.search) = (false, String::new()),
            KeyCode::Enter => view.typing = false,
            KeyCode::Backspace if view.typing => drop(view.search.pop()),
            KeyCode::Char(_) if view.typing && view.search.chars().count() >= MAX_SEARCH => {}
            KeyCode::Char(c) if view.typing => view.search.push(c),
            KeyCode::Up => view.first = view.first.saturating_sub(1),
            KeyCode::Down => view.first = view.first.saturating_add(1),
            KeyCode::PageUp => view.first = view.first.saturating_sub(page_rows()),
            KeyCode::PageDown => view.first = view.first.saturating_add(page_rows()),
            KeyCode::Home => view.first = 0,
            KeyCode::End => view.first = usize::MAX,
            KeyCode::Char('q') => return true,
            KeyCode::Char('/') => view.typing = true,
            KeyCode::Char(' ') => view.paused = !view.paused,
            KeyCode::Char(c) => choose(view, c),
            _ => {}
        }
        false
    }
}

/// The same key again turns the order round.
fn choose(view: &mut View, key: char) {
    let sort = match key {
        'r' => Sort::Rate,
        'c' => Sort::Count,
        'e' => Sort::Errors,
        '5' => Sort::Quantile(0),
        'p' => Sort::Quantile(1),
        '9' => Sort::Quantile(2),
        'n' => Sort::Path,
        'm' => Sort::Method,
        _ => return,
    };
    view.reversed = view.sort == sort && !view.reversed;
    (view.sort, view.first) = (sort, 0);
}

fn page_rows() -> usize {
    size().map_or(1, |(_, height)| usize::from(height).saturating_sub(HEAD_LINES + 2).max(1))
}

/// The terminal, in raw mode and on its alternate screen.
struct Screen(Stdout);

impl Screen {
    fn open() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
        enable_raw_mode()?;
        let mut screen = Self(io::stdout());
        execute!(screen.0, EnterAlternateScreen, DisableLineWrap, Hide)?;
        Ok(screen)
    }

    fn draw(&mut self, lines: &[Line], width: usize) -> io::Result<()> {
        queue!(self.0, BeginSynchronizedUpdate)?;
        for (y, line) in (0_u16..).zip(lines) {
            queue!(self.0, MoveTo(0, y))?;
            match line.style {
                Style::Plain => {}
                Style::Bold => queue!(self.0, SetAttribute(Attribute::Bold))?,
                Style::Dim => queue!(self.0, SetAttribute(Attribute::Dim))?,
                Style::Bad => queue!(self.0, SetForegroundColor(Color::Red))?,
                Style::Head => queue!(self.0, SetAttribute(Attribute::Reverse))?,
            }
            // Every cell is written: nothing need be cleared, so nothing flickers.
            let text = fit(&line.text, width);
            queue!(self.0, Print(text), SetAttribute(Attribute::Reset), ResetColor)?;
        }
        queue!(self.0, EndSynchronizedUpdate)?;
        self.0.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. If that fails there is nobody to tell.
fn restore() {
    let _restored = execute!(io::stdout(), ResetColor, EnableLineWrap, Show, LeaveAlternateScreen);
    let _restored = disable_raw_mode();
}
