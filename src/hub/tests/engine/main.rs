//! The engine end to end, with real files, a real catalog and programs that others wrote.

mod asking;
mod cycle;
mod damage;
mod faults;
mod killed;
mod sequences;
mod support;
mod together;
