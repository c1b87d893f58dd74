"""The arithmetic of the HorizontalPodAutoscaler, as pure functions.

It follows the podautoscaler controller of Kubernetes 1.36 (replica_calculator.go and
horizontal.go in pkg/controller/podautoscaler) with the feature gate HPAScaleToZero on, for a
behavior that sets only the scale-down stabilization window. As in Kubernetes, all metric values
are integers in thousandths ("milli-values"); `simulator.quantities` parses them from text.
"""
