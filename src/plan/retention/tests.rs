//! Does only leave what may?
