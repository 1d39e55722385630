"""How a call is sent: one module a way, behind one protocol."""
