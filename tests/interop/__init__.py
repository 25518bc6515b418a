"""Tests against a real authorization server (npm's oidc-provider) over real sockets."""
