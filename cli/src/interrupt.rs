//! Ctrl-C: the first asks the running work to stop at the next safe point, the second ends the process at once.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, INTERRUPTED, Outcome};

static ASKED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// Starts listening for Ctrl-C (and SIGTERM, SIGHUP). Without a call the signals end the process as usual.
pub fn listen() {
    INSTALL.call_once(|| {
        let on_signal = || {
            if ASKED.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED.into());
            }
        };
        if let Err(error) = ctrlc::set_handler(on_signal) {
            eprintln!("note: Ctrl-C will not leave a checkpoint: {error}");
        }
    });
}

/// True once Ctrl-C was pressed.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Fails once Ctrl-C was pressed, for work that keeps no state.
pub fn check() -> Outcome<()> {
    if asked() { Err(Failure::interrupted("interrupted")) } else { Ok(()) }
}
