"""What operators see: metrics, spans, and the page for Prometheus."""
