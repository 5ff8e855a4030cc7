"""gunicorn --config gunicorn.conf.py shop:app"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gthread"
threads = 16
graceful_timeout = 35  # more than ASWR_WAIT_TIMEOUT (25) + ASWR_DRAIN_TIMEOUT (5)
worker_tmp_dir = "/dev/shm"  # the heartbeat: a disk that stalls must not end workers
control_socket_disable = True  # it would be in the home directory


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.app.callable.extensions["aswr"].start()
