"""One slow page, as many kinds of visitors: who shares an answer, and who gets his own.

    flask --app examples/front_page run

Ask it as different visitors, and look at the ``Cache-Status``:

    curl -i 127.0.0.1:5000/ -H 'Accept-Language: de'     everybody who prefers German shares
    curl -i 127.0.0.1:5000/ -H 'Cookie: _ga=1'           what no view reads does not matter
    curl -i -c jar 127.0.0.1:5000/login/ann              log in,
    curl -i -b jar 127.0.0.1:5000/                       and the page is computed for you alone
    curl -i -b jar 127.0.0.1:5000/mine                   once: the scope stands for you
    curl -i 127.0.0.1:5000/prices                        for CDNs, too
"""

import time

from flask import Flask, Response, redirect, render_template_string, request, session

from aswr import CacheManager

app = Flask(__name__)
app.secret_key = "an example's"
manager = CacheManager(app)

PAGE = "{{ greeting }}, {{ session.user or 'visitor' }}; it is {{ time }}\n"


def slow_time() -> str:
    """Two seconds of work."""
    time.sleep(2)
    return time.strftime("%H:%M:%S")


@app.route("/")
@manager.cacher(timeout=60)
def front_page() -> str:
    # The language is learned by its result, the session by being absent: nothing to configure.
    language = request.accept_languages.best_match(["en", "de"], "en")
    greeting = {"en": "Hello", "de": "Guten Tag"}[language or "en"]
    return render_template_string(PAGE, greeting=greeting, time=slow_time())


@app.route("/mine")
@manager.cacher(timeout=60, scope=lambda: session.get("user"))
def mine() -> str:
    return f"for {session.get('user')} alone, at {slow_time()}\n"


@app.route("/prices")
@manager.cacher(timeout=60, public=True)
def prices() -> dict[str, str]:
    return {"computed_at": slow_time()}


@app.route("/login/<user>")
def login(user: str) -> Response:
    session["user"] = user
    return redirect("/")  # type: ignore[return-value]


if __name__ == "__main__":
    app.run()
