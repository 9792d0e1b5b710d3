//! The server's end of the stream: any homeserver's HTTP API behind one WebSocket.
