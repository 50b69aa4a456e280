"""What training costs, here and elsewhere: ``python -m benchmarks NAME``."""
