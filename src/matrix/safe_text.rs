//! Text from others, made safe for a terminal.
