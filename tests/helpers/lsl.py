"""Configuration of LSL streams that stay on this machine."""

LOOPBACK = """
[ports]
IPv6 = disable
[multicast]
ResolveScope = machine
[lab]
KnownPeers = {127.0.0.1}
[log]
level = -3
"""
