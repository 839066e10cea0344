"""The proof rig: faults at every instant and under load, and a judge that knows nothing of the service's code.

`history` says what was seen from outside, `judge` decides by it, `cast` plays the parts around the service (gateway,
stock service, payment service, recorder) and writes down what each saw. What breaks things builds on these three.
"""
