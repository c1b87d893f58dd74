"""Labels for the rows of long pages, by row number."""


def gpu_of(i: int) -> str:
    """A GPU and a pod for each row."""
    return f'gpu="{i}",UUID="GPU-{i}",namespace="default",pod="pod-{i}",container="c"'


def wordy(i: int) -> str:
    """The same, with a kilobyte of labels in each row."""
    return f'{gpu_of(i)},note="{"x" * 1000}"'


def shared(i: int) -> str:
    """One GPU for all pods."""
    return f'gpu="0",UUID="GPU-0",namespace="default",pod="pod-{i}",container="c"'
