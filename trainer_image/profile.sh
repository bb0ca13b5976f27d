# Login shells, as an operator of KubeRay with ENABLE_LOGIN_SHELL starts, set PATH anew and would lose the image's.
export PATH="/opt/tadrib/bin:$PATH"
