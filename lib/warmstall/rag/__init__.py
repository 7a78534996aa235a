"""The reference RAG-plus-inference path: small, real parts behind protocols, and every step of it traced."""
